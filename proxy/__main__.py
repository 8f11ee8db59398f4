"""`python -m proxy` is the command `signalbox`."""

import gc

gc.disable()  # what is imported stays: searching it for cycles again and again takes a tenth of the time of a start
from proxy.cli import main  # noqa: E402

gc.enable()

if __name__ == "__main__":
    main(prog_name="signalbox")
