"""The scripts of three shells from the words that `completion` finds; each is one table and a few lines around it."""

from collections.abc import Callable, Sequence
from typing import Any

_BASH = """\
# Completion of medslip; made by `medslip completion bash`.
_medslip_words() {{
  case "$1" in
{table}
  esac
}}
_medslip_values() {{
  case "$1" in
{values}
    *) return 1 ;;
  esac
}}
_medslip() {{
  local cur prev path
  cur=${{COMP_WORDS[COMP_CWORD]}}
  prev=${{COMP_WORDS[COMP_CWORD - 1]}}
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W "{verbs}" -- "$cur")
    return
  fi
  path=${{COMP_WORDS[1]}}
  if ((COMP_CWORD > 2)) && [[ -n $(_medslip_words "$path ${{COMP_WORDS[2]}}") ]]; then
    path="$path ${{COMP_WORDS[2]}}"
  fi
  local values
  if [[ $cur != -* ]] && values=$(_medslip_values "$path $prev"); then
    # An empty list is a flag that takes anything.
    if [[ -n $values ]]; then
      mapfile -t COMPREPLY < <(compgen -W "$values" -- "$cur")
    else
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    fi
    return
  fi
  mapfile -t COMPREPLY < <(compgen -W "$(_medslip_words "$path")" -- "$cur")
  if [[ $cur != -* && ${{#COMPREPLY[@]}} -eq 0 ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  fi
}}
complete -o filenames -F _medslip medslip"""

_ZSH = """\
#compdef medslip
# Completion of medslip; made by `medslip completion zsh`.
_medslip() {{
  local -a verbs
  verbs=(
{verbs}
  )
  if ((CURRENT == 2)); then
    _describe 'verb' verbs
    return
  fi
  local place="$words[2]"
  case "$words[2] $words[3]" in
    {paths}) ((CURRENT > 3)) && place="$words[2] $words[3]" ;;
  esac
  local -a choices flags
  case "$place" in
{table}
  esac
  case "$place $words[CURRENT-1]" in
{values}
  esac
  if [[ $words[CURRENT] == -* ]]; then
    _describe 'flag' flags
  elif ((CURRENT == 3 && $#choices)); then
    compadd -a choices
  else
    _files
  fi
}}
if [[ $funcstack[1] == _medslip ]]; then
  _medslip "$@"
else
  compdef _medslip medslip
fi"""


def bash(words: Sequence[Any]) -> str:
    table = [f"    {_quoted(' '.join(w.path))}) echo {_quoted(' '.join(_all(w)))} ;;" for w in words]
    values = [
        f"    {_quoted(' '.join((*w.path, flag.name)))}) echo {_quoted(' '.join(flag.values))} ;;"
        for w in words
        for flag in w.flags
        if not flag.alone
    ]
    return _BASH.format(table="\n".join(table), values="\n".join(values), verbs=" ".join(_verbs(words)))


def zsh(words: Sequence[Any]) -> str:
    described = [f"    {_quoted(f'{_plain(name)}:{text}')}" for name, text in _verbs(words).items()]
    table = []
    for w in words:
        flags = " ".join(_quoted(f"{_plain(flag.name)}:{flag.text}") for flag in w.flags)
        table.append(f"    {_quoted(' '.join(w.path))}) choices=({' '.join(w.choices)}); flags=({flags}) ;;")
    values = [
        f"    {_quoted(' '.join((*w.path, flag.name)))}) "
        + (f"compadd {' '.join(flag.values)}; return ;;" if flag.values else "_files; return ;;")
        for w in words
        for flag in w.flags
        if not flag.alone
    ]
    paths = "|".join(_quoted(" ".join(w.path)) for w in words if len(w.path) > 1)
    parts = {"verbs": described, "table": table, "values": values}
    return _ZSH.format(paths=paths, **{name: "\n".join(lines) for name, lines in parts.items()})


def fish(words: Sequence[Any]) -> str:
    lines = [
        "# Completion of medslip; made by `medslip completion fish`.",
        "complete -c medslip -n __fish_use_subcommand -f",
    ]
    for name, text in _verbs(words).items():
        lines.append(f"complete -c medslip -n __fish_use_subcommand -a {name} -d {_quoted(text)}")
    for w in words:
        seen = "; and ".join(f"__fish_seen_subcommand_from {name}" for name in w.path)
        if w.choices:
            inside = f"{seen}; and not __fish_seen_subcommand_from {' '.join(w.choices)}"
            lines.append(f"complete -c medslip -n {_quoted(inside)} -f -a {_quoted(' '.join(w.choices))}")
        for flag in w.flags:
            kind = "-l" if flag.name.startswith("--") else "-s"
            takes = "" if flag.alone else f" -r -f -a {_quoted(' '.join(flag.values))}" if flag.values else " -r -F"
            name = flag.name.lstrip("-")
            lines.append(f"complete -c medslip -n {_quoted(seen)} {kind} {name} -d {_quoted(flag.text)}{takes}")
    return "\n".join(lines)


def _verbs(words: Sequence[Any]) -> dict[str, str]:
    return {w.path[0]: w.text for w in words if len(w.path) == 1}


def _all(w: Any) -> list[str]:
    return [*w.choices, *(flag.name for flag in w.flags)]


def _plain(name: str) -> str:
    """For `_describe`, which cuts at the first colon."""
    return name.replace(":", r"\:")


def _quoted(text: str) -> str:
    """In single quotes, in which all three shells take everything but these literally."""
    return "'" + text.replace("'", "’") + "'"


SCRIPTS: dict[str, Callable[[Sequence[Any]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
