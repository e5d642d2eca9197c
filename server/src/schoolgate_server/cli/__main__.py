"""``python -m schoolgate_server.cli``: the command, also where its script is not on PATH."""

from schoolgate_server.cli.app import main

if __name__ == "__main__":
    main()
