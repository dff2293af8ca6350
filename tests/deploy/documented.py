"""The az commands of the documents, parsed by the real az: unknown commands and options are found without Azure."""
import contextlib
import io
import re
import shlex
from pathlib import Path

from azure.cli.core import get_default_cli
from azure.cli.core.commands.events import EVENT_INVOKER_POST_LOAD_ARGUMENTS, EVENT_INVOKER_PRE_LOAD_ARGUMENTS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["docs/deploy.md", "docs/operations.md", "infra/README.md", "deploy/README.md", "deploy/kubernetes/README.md"]
OF_EXTENSIONS = ("az containerapp function",)


def commands(text):
    """The az commands in the blocks of a document, as lists of words."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"<[\w ]+>|\$\((?!az )[^)]*\)", "x", re.sub(r"(^|\s)#.*", "", line))
            for found in re.findall(r"(?<![\w./-])az [a-z][^|;)<&]*", line):
                yield shlex.split(found.strip().rstrip("`"))


def parse(words):
    """What az says against a command, or nothing."""
    cli = get_default_cli()
    arguments = [word.replace("$", "") or "x" for word in words[1:]]
    invocation = cli.invocation_cls(cli_ctx=cli, parser_cls=cli.parser_cls, commands_loader_cls=cli.commands_loader_cls,
                                    help_cls=cli.help_cls)
    cli.invocation = invocation
    loader = invocation.commands_loader
    loader.load_command_table(arguments)
    command = invocation._rudimentary_get_command(arguments)
    if command not in loader.command_table:
        return f"no command '{command}'"
    loader.command_table = {command: loader.command_table[command]}
    loader.command_name = invocation.data["command_string"] = command
    cli.raise_event(EVENT_INVOKER_PRE_LOAD_ARGUMENTS, commands_loader=loader)
    loader.load_arguments(command)
    cli.raise_event(EVENT_INVOKER_POST_LOAD_ARGUMENTS, commands_loader=loader)
    invocation.parser.load_command_table(loader)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            invocation.parser.parse_args(arguments)
    except SystemExit:
        return said.getvalue() or "refused"
    return None


def main():
    found = 0
    for document in DOCUMENTS:
        for words in commands((ROOT / document).read_text()):
            if " ".join(words).startswith(OF_EXTENSIONS):
                continue
            found += 1
            refusal = parse(words)
            assert not refusal, f"{document}: {' '.join(words)}\n{refusal}"
    assert parse("az identity federated-credential create --name x --subjects y".split()), "nothing is refused"
    assert found >= 12, found
    print(f"{found} az commands of the documents are parsed by az")


if __name__ == "__main__":
    main()
