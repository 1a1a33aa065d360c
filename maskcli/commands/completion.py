"""``maskcli completion``."""

from __future__ import annotations

import click

from maskcli.commands.grouped import GroupedCommand
from maskcli.records.options import HELP

# Not the scripts of click: the one for zsh completes nothing on every second attempt if zsh loads it from $fpath, and
# the one for fish cuts values at a comma, as in --select MSK101,MSK102. click still answers, in its own format.
BASH = """\
_maskcli_completion() {
    local IFS=$'\\n' answer kind value
    for answer in $(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _MASKCLI_COMPLETE=bash_complete "$1"); do
        IFS=, read -r kind value <<< "$answer"
        if [[ $kind == plain ]]; then
            COMPREPLY+=("$value")
        elif [[ $kind == file ]]; then
            COMPREPLY=()
            compopt -o default
        fi
    done
}

complete -o nosort -F _maskcli_completion maskcli
"""
ZSH = """\
#compdef maskcli

_maskcli_completion() {
    local -a answers plain described
    local kind value help
    answers=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) _MASKCLI_COMPLETE=zsh_complete maskcli)}")
    for kind value help in "${answers[@]}"; do
        if [[ $kind == plain && $help == _ ]]; then
            plain+=("$value")
        elif [[ $kind == plain ]]; then
            described+=("$value:$help")
        elif [[ $kind == file ]]; then
            _path_files -f
        fi
    done
    if (( $#described )); then
        _describe -V unsorted described -U
    fi
    if (( $#plain )); then
        compadd -U -V unsorted -a plain
    fi
}

if [[ $funcstack[1] == _maskcli ]]; then
    _maskcli_completion "$@"
else
    compdef _maskcli_completion maskcli
fi
"""
FISH = """\
function _maskcli_completion
    for answer in (env _MASKCLI_COMPLETE=fish_complete COMP_WORDS=(commandline -cp | string collect) \\
            COMP_CWORD=(commandline -t | string collect) maskcli)
        set -l parts (string split -m 1 , -- $answer)
        if test $parts[1] = file
            __fish_complete_path $parts[2]
        else if test $parts[1] = plain
            echo $parts[2]
        end
    end
end

complete --no-files --command maskcli --arguments "(_maskcli_completion)"
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@click.command(cls=GroupedCommand, examples={HELP: ""})
@click.argument("shell", type=click.Choice(tuple(SCRIPTS)))
def completion(shell: str) -> None:
    """Print a script that lets a shell complete commands, options, rules, models and fields of files.

    \b
    bash:  maskcli completion bash >> ~/.bashrc
    zsh:   maskcli completion zsh > ~/.zfunc/_maskcli  (~/.zfunc is in $fpath)
    fish:  maskcli completion fish > ~/.config/fish/completions/maskcli.fish

    To try it in the running shell: eval "$(maskcli completion bash)", or the same with zsh; in fish: maskcli completion
    fish | source. bash must be 4.4 or later.
    """
    click.echo(SCRIPTS[shell], nl=False)
