"""Package metadata of medslip_jax."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = (HERE / "medslip_jax" / "version.py").read_text().split('"')[-2]

# Lower bounds are versions that the suite has been run with; a cap only where a break is known.
REQUIRES = [
    "absl-py>=2.1",
    "jax>=0.10.2",
    "flax>=0.12.8",
    "optax>=0.2.8",  # contrib.muon has consistent_rms since 0.2.7, which cannot be imported with jax 0.10.2
    # 0.11.36 is the newest that jax2onnx 0.17.1 allows, otherwise the suite runs with 0.12.8. Release 1 will move what
    # lies at the package's top level, which medslip_jax/checkpoints uses.
    "orbax-checkpoint>=0.11.36,<1",
    "tensorstore>=0.1.86",  # orbax-checkpoint requires it too; checkpoints/failures.py reads its errors
    "grain>=0.2.18",
    "etils[epath,epy]>=1.9.1",  # the first with epy.lazy_api_imports is 1.9.0; tensorflow-datasets asks for this one
    "array-record>=0.8",
    "tensorflow-datasets>=4.9.10",
    "importlib_resources>=6.0",  # imported by tensorflow-datasets 4.9.10, which does not require it
    "ml-collections>=1.1",
    "clu>=0.0.12",
    "transformers>=5.3",  # before, a tokenizer without tokenizer.json does not lower the case, and says nothing
    "tokenizers>=0.22",
    "safetensors>=0.6",
    "ml-dtypes>=0.5",
    "flatbuffers>=25.12",  # imported by jax.export, which does not require it
    "huggingface-hub>=1.3",
    "msgpack>=1.0",
    "numpy>=2.0",
    "opencv-python-headless>=4.11",
    "pillow>=11.0",
    "pydicom>=3.0",
    "scikit-learn>=1.6",
    "matplotlib>=3.9",
    "tensorboardX>=2.6",
    "tqdm>=4.66",
    "jaxtyping>=0.3",
    "pyyaml>=6.0",
    "shtab>=1.13",
    "packaging>=24",
    "psutil>=6.0",
]

CUDA_13 = ["jax[cuda13]"]  # the newer one, which [cuda] stands for

setup(
    name="medslip_jax",
    version=VERSION,
    description="MeDSLIP, medical vision-language pre-training, on JAX for TPU and GPU",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["medslip_jax", "medslip_jax.*", "data_pipelines", "data_pipelines.*"]),
    package_data={
        "medslip_jax": [
            "assets/*.json",
            "assets/*.npz",
            "launch/*.sh",
            "launch/*.yaml",
            "aot/gpus/*.txtpb",
            "py.typed",
            "**/*.css",
        ],
        "data_pipelines": ["assets/*.toml", "py.typed"],
    },
    install_requires=REQUIRES,
    extras_require={
        "tpu": ["jax[tpu]"],
        # The drivers decide: CUDA 13 needs 580 or newer, CUDA 12 works with 525 or newer.
        "cuda12": ["jax[cuda12]"],
        "cuda13": CUDA_13,
        "cuda": CUDA_13,
        "torch": ["torch>=2.13"],
        "onnx": ["jax2onnx>=0.14.1", "onnx>=1.20.1", "onnxruntime>=1.24.1"],
        # JPEG lossless, JPEG-LS and HTJ2K inside DICOM; nothing GPL (dicom_pixels.py says which decodes what).
        "dicom": ["python-gdcm>=3.2", "pylibjpeg>=2.1", "pylibjpeg-openjpeg>=2.6"],
        "beam": ["apache-beam>=2.77"],
        # `medslip serve`; not an upper bound of ours: Gradio 6 asks for an older Pillow.
        "demo": ["gradio>=6.31"],
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "threadpoolctl>=3.1",
            "time-machine>=2.16",
            "ruff>=0.14",
            "mypy>=2.0",  # 1.20 asks for the stubs of PyYAML
            "nbclient>=0.10",
            "nbformat>=5.10",
            "ipykernel>=6.29",
            "pydicom-data>=1.0",  # 34 MB, MIT: files for test_dicom_against_pydicom.py
            "setuptools>=70.1",  # the first that builds wheels by itself, for tests/test_package.py
        ],
    },
    entry_points={"console_scripts": ["medslip = medslip_jax.cli.main:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
)
