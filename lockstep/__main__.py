"""The command `lockstep`, which has a subcommand for each thing that it does."""

import sys
from collections.abc import Sequence
from importlib import import_module

from lockstep.cli.main import Parser

COMMANDS = {  # each is a module of lockstep.cli
    "audit": "what the tolerance of an existing test of gradients lets through",
    "check": "check gradients that a program in any language computed",
    "compare": "train a network by hand and by PyTorch, and compare every number",
    "descend": "gradient descent on the lecture's curve, by hand and by PyTorch",
    "exercise": "derive back-propagation yourself, each formula checked against PyTorch",
    "grade": "judge the hand-ins of a class, each in a process of its own",
    "look": "judge a program as it is: recognise its network, and compare every number",
    "sheet": "write worksheets of a training step, with numbers for each student, and keys",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Those of the command line; by default the program's own.

    Returns:
        The exit status of the subcommand; 0 for --version, 2 without a subcommand.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in COMMANDS:
        command = import_module(f"lockstep.cli.{given[0]}")
        return int(command.main(given[1:], f"lockstep {given[0]}"))
    parser = Parser(
        "lockstep",
        description="Back-propagation by hand next to PyTorch.",
        epilog="`lockstep COMMAND --help` lists the options of a command.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, about in COMMANDS.items():
        commands.add_parser(name, help=about)
    if parser.parse_args(given).version:
        print(f"lockstep {import_module('lockstep.version').version()}")
        return 0
    parser.print_help(sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
