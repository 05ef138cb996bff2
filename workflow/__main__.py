"""``python -m workflow``, which the Makefile calls: until there is something to stop, Ctrl-C just ends it."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from workflow.commands import main  # what it imports takes a second

    raise SystemExit(main())
