"""`director completion bash|zsh`: the script that lets a shell complete our command line.

Written from the same tables that parse the words, so a new option completes at once. Hosts are
asked of the running director while somebody presses TAB; without one there is nothing to offer. Of
the verbs that are click's only the names are known.

    director completion bash > /usr/share/bash-completion/completions/director
    director completion zsh > /usr/share/zsh/site-functions/_director
"""

from __future__ import annotations

import click

from director.cli.administration import TEXT_OPTIONS
from director.cli.options import Parameter
from director.cli.tables import FORMATS
from director.cli.verbs import VERBS, Verb

HOSTS_COMMAND = "director -f tab -h status 2>/dev/null | cut -f1"

BASH = """\
# bash completion for director, made by `director completion bash`
_director() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= word index=1
  while [ $index -lt $COMP_CWORD ]; do
    word=${COMP_WORDS[index]}
    case $word in
      -[@text_options@]) index=$((index + 1)) ;;
      -*) ;;
      *) verb="${verb:+$verb }$word"; [ "$verb" != ring ] && break ;;
    esac
    index=$((index + 1))
  done
  case $prev in
    -f) [ -z "$verb" ] && { COMPREPLY=($(compgen -W '@formats@' -- "$cur")); return; } ;;
    -c|-a|--socket-path|--users-file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
  esac
  case $verb in
    '') COMPREPLY=($(compgen -W '@verbs@' -- "$cur")) ;;
    ring) COMPREPLY=($(compgen -W '@ring_verbs@' -- "$cur")) ;;
@cases@
  esac
}
complete -o default -F _director director
"""

CASE = """\
    '{words}')
      case $cur in
        -*) COMPREPLY=($(compgen -W '{options}' -- "$cur")) ;;
        {rest}
      esac ;;"""

ZSH_HEAD = """\
#compdef director
# zsh completion for director, made by `director completion zsh`
autoload -U +X bashcompinit && bashcompinit
"""


def bash_script(other_verbs: list[str]) -> str:
    """Return the script for bash; `other_verbs` are click's."""
    single = [verb.words for verb in VERBS if " " not in verb.words]
    ring = [verb.words.split()[1] for verb in VERBS if verb.words.startswith("ring ")]
    replacements = {
        "@text_options@": TEXT_OPTIONS,
        "@formats@": " ".join(FORMATS),
        "@verbs@": " ".join(sorted([*single, "ring", *other_verbs])),
        "@ring_verbs@": " ".join(ring),
        "@cases@": "\n".join(_case(verb) for verb in VERBS),
    }
    script = BASH
    for place, text in replacements.items():
        script = script.replace(place, text)
    return script


def _case(verb: Verb) -> str:
    rest = "*) COMPREPLY=() ;;"
    if any(parameter.name == "host" for parameter in verb.parameters):
        words = f"$({HOSTS_COMMAND})" + (" all" if verb.words == "flush" else "")
        rest = f'*) COMPREPLY=($(compgen -W "{words}" -- "$cur")) ;;'
    options = " ".join(_spelling(p) for p in verb.parameters if not p.is_positional)
    return CASE.format(words=verb.words, options=options, rest=rest)


def _spelling(parameter: Parameter) -> str:
    short = f"-{parameter.letters[0]} " if parameter.letters else ""
    return f"{short}--{parameter.name}"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete this command."""
    group = context.parent.command if context.parent else None
    others = group.list_commands(context) if isinstance(group, click.Group) else []
    script = bash_script(others)
    click.echo(ZSH_HEAD + script if shell == "zsh" else script, nl=False)
