"""The one exception that means "what the user gave cannot be used"."""


class InputError(ValueError):
    """Bad input: a file, row, key or flag.

    The message is one line that names the file, row, key or flag and the next step. The command line prints it
    after "medslip: " and exits with code 2; any other exception is a bug of ours and shows its traceback.
    """
