"""`python -m fashionclip` is `fashionclip`."""

from fashionclip.app.cli import main

if __name__ == "__main__":
    main()
