"""``python -m maskcli``."""

from maskcli.entry import main

if __name__ == "__main__":
    main()
