"""What tests of the command line share."""

import re


def refused(result, message):
    """Check that a command line, run by the fixture `convkit`, was refused in one line."""
    code, _, err = result
    assert code == 2
    assert re.search(message, err.splitlines()[-1])
    assert "Traceback" not in err
