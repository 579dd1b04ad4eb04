"""The command line. Every command imports what it needs when it runs, so that help is instant."""

import os
from pathlib import Path

import click

from scoter.cli.chains import chains, pilot
from scoter.cli.checks import leakage, verify
from scoter.cli.data import data
from scoter.cli.discover import discover
from scoter.cli.experiments import config, ls, run
from scoter.cli.options import Commands
from scoter.cli.reason import reason
from scoter.cli.reproduce import reproduce
from scoter.cli.runs import runs, show, table
from scoter.cli.serving import export, recommend
from scoter.plugins import VARIABLE, load_plugins

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_PLUGIN = "Import this Python file or module first, for what it registers; repeatable"


@click.group(cls=Commands, context_settings=_SETTINGS)
@click.version_option(package_name="scoter")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE_OR_MODULE", help=_PLUGIN)
def main(plugins: tuple[str, ...]) -> None:
    """Structured chain-of-thought transfer for recommendation: run it, measure it, look inside."""
    if plugins:
        places = [str(Path(name).resolve()) if name.endswith(".py") else name for name in plugins]
        before = filter(None, [os.environ.get(VARIABLE)])
        os.environ[VARIABLE] = os.pathsep.join([*before, *places])
        load_plugins()


for command in (
    *(run, ls, config, runs, show, table, recommend, export),
    *(data, discover, reason, reproduce, chains, pilot, leakage, verify),
):
    main.add_command(command)

if __name__ == "__main__":
    main()
