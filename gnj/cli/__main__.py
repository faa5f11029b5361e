"""`python -m gnj.cli`, for where the command `gnj` is not on the PATH."""

from gnj.cli import main

if __name__ == "__main__":
    main()
