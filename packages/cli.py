"""Man pages and completions, from what the binary itself says with --help.

A line of the help that is not understood is an error: nothing is left out silently.
"""

import re
import subprocess


class Option:
    """An option: its names, the longest last, what its value is called, and what it does."""

    def __init__(self, names, value, text, often):
        self.names, self.value, self.text, self.often = names, value, text, often


class Command:
    """What `--help` says of the program, or of one of its commands."""

    def __init__(self, run, name):
        self.name = name
        words = [name] if name else []
        text = subprocess.run([*run, *words, "--help"], check=True, capture_output=True, text=True).stdout
        usage, _, rest = text.partition("\n\n")
        if not usage.startswith(" ".join(["Usage: brooklet", *words])):
            raise ValueError(f"no usage: {usage}")
        self.usage = usage.removeprefix("Usage: ")
        self.about, _, rest = rest.partition("\n\n")
        self.sections = sections(rest)
        unknown = set(self.sections) - {"Positional Arguments", "Options", "Commands", "Notes", "Error codes"}
        if unknown:
            raise ValueError(f"{name} --help has sections that are not known: {unknown}")
        self.options = [self.option(*row) for row in self.rows("Options")]
        self.arguments = self.rows("Positional Arguments")
        self.commands = self.rows("Commands")
        self.notes = " ".join(" ".join(self.sections.get("Notes", [])).split())
        self.codes = [line.strip().split(" ", 1) for line in self.sections.get("Error codes", [])]

    def rows(self, section):
        """Pairs of a name and a text, which goes on in the lines that are indented further."""
        rows = []
        for line in self.sections.get(section, []):
            begins = re.match(r"  (\S.*?)(?:  +(.*))?$", line)
            if begins:
                rows.append([begins.group(1), begins.group(2) or ""])
            else:
                rows[-1][1] = f"{rows[-1][1]} {line.strip()}".strip()
        return [tuple(row) for row in rows]

    def option(self, names, text):
        """An option's row, with what the usage says of its value."""
        if names == "--help, help":
            return Option(["--help"], None, text, False)
        names = sorted(names.split(", "), key=len)
        used = re.search(rf"\[?(?:{'|'.join(names)})(?: <([^>]*)>)?[\]\s]", self.usage + " ")
        if not used:
            raise ValueError(f"{self.usage}: {names} is not in it")
        value = used.group(1)
        return Option(names, value and value.removesuffix("..."), text, bool(value and value.endswith("...")))


def sections(text):
    """The lines below each heading."""
    found, lines = {}, None
    for line in text.splitlines():
        if re.fullmatch(r"[A-Z][A-Za-z ]*:", line):
            lines = found.setdefault(line[:-1], [])
        elif line.strip():
            lines.append(line)
    return found


def read(run):
    """The program, and its commands."""
    program = Command(run, "")
    return program, [Command(run, name) for name, _ in program.commands]


def roff(text):
    """Text for a man page."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def man_options(command):
    out = []
    for name, text in command.arguments:
        out += [".TP", f"\\fI{roff(name)}\\fR", roff(text)]
    for option in command.options:
        value = f" \\fI{roff(option.value)}\\fR" if option.value else ""
        out += [".TP", ", ".join(f"\\fB{roff(name)}\\fR" for name in option.names) + value, roff(option.text)]
    return out


def man(program, commands, version, date):
    """brooklet(1)."""
    out = [
        f'.TH BROOKLET 1 "{date}" "brooklet {version}" "User Commands"',
        ".SH NAME", "brooklet \\- Kafka\\-protocol broker over a ring on flash",
        ".SH SYNOPSIS", ".nf", *(roff(c.usage) for c in [program, *commands]), ".fi",
        ".SH DESCRIPTION", roff(program.about), ".PP", roff(program.notes),
        ".SH OPTIONS", *man_options(program),
    ]  # fmt: skip
    out.append(".SH COMMANDS")
    for command in commands:
        out += [f".SS {command.name}", roff(command.about), *man_options(command)]
        if command.notes:
            out += [".PP", roff(command.notes)]
    out.append(".SH EXIT STATUS")
    for code, text in [("0", "it is done"), *program.codes]:
        out += [".TP", f"\\fB{code}\\fR", roff(text)]
    out += [
        ".SH FILES", ".TP", "\\fI/etc/brooklet/brooklet.toml\\fR", "the configuration of the service",
        ".TP", "\\fI/var/lib/brooklet\\fR", "the rings of the service",
        ".SH SEE ALSO", "\\fBbrooklet.toml\\fR(5)",
    ]  # fmt: skip
    return "\n".join(out) + "\n"


def man_config(text, version, date):
    """brooklet.toml(5), from the commented configuration: its comments are the prose."""
    out = [
        f'.TH BROOKLET.TOML 5 "{date}" "brooklet {version}" "File Formats"',
        ".SH NAME", "brooklet.toml \\- configuration of the broker brooklet",
    ]  # fmt: skip
    out += [".SH DESCRIPTION"]
    for block in re.split(r"\n(?:#?\n)+", text.strip()):
        lines = block.splitlines()
        prose = [line.removeprefix("#").strip() for line in lines if line.startswith("# ") or line == "#"]
        keys = [line.removeprefix("#") for line in lines if line and not line.startswith("# ") and line != "#"]
        heading = re.fullmatch(r"------ (.*) ------", prose[0]) if prose else None
        if heading:
            out.append(f".SH {roff(heading.group(1)).upper()}")
            prose = prose[1:]
        if keys:
            out += [".TP", f"\\fB{roff(keys[0])}\\fR"]
            out += [line for key in keys[1:] for line in (".TQ", f"\\fB{roff(key)}\\fR")]
        elif prose:
            out.append(".PP")
        out += [roff(line) for line in prose if line]
    out += [".SH SEE ALSO", "\\fBbrooklet\\fR(1)"]
    return "\n".join(out) + "\n"


def kind(value):
    """What a shell completes for a value: files, folders or nothing."""
    return {"file": "file", "dir": "folder"}.get(value)


def bash(program, commands):
    out = [
        "# bash completion of brooklet",
        "_brooklet() {",
        '    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= word',
        '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        f'        case $word in {"|".join(c.name for c in commands)}) command=$word; break ;; esac',
        "    done",
        '    case $command,$before in',
    ]  # fmt: skip
    for command in [program, *commands]:
        for option in command.options:
            if not option.value:
                continue
            names = "|".join(f"{command.name},{name}" for name in option.names)
            how = {"file": 'compgen -f -- "$current"', "folder": 'compgen -d -- "$current"'}.get(kind(option.value))
            reply = f"COMPREPLY=($({how}))" if how else "COMPREPLY=()"
            out.append(f"        {names}) {reply}; return ;;")
    out += ["    esac", "    case $command in"]
    for command in [*commands, program]:
        words = [name for option in command.options for name in option.names]
        if not command.name:
            words += [c.name for c in commands]
        out.append(
            f"        {command.name or '*'}) COMPREPLY=($(compgen -W '{' '.join(words)}' -- \"$current\")) ;;"
        )
    return "\n".join([*out, "    esac", "}", "complete -F _brooklet brooklet"]) + "\n"


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def zsh(program, commands):
    def specs(command):
        out = []
        for option in command.options:
            text = re.sub(r"([\[\]:])", r"\\\1", option.text)
            action = {"file": "_files", "folder": "_files -/"}.get(kind(option.value), " ")
            value = f":{option.value}:{action}" if option.value else ""
            star = "*" if option.often else ""
            out += [quoted(f"{star}{name}[{text}]{value}") for name in option.names]
        return out

    out = ["#compdef brooklet", "", "_brooklet() {", "    local state line", "    local -a commands=("]
    out += [f"        {quoted(c.name + ':' + c.about)}" for c in commands]
    out += ["    )", "    _arguments -C \\"]
    out += [f"        {spec} \\" for spec in specs(program)]
    out += ["        '1: :->command' '*:: :->arguments'", "    case $state in"]
    out += ["        command) _describe command commands ;;", "        arguments)", "            case $line[1] in"]
    for command in commands:
        out.append(f"                {command.name}) _arguments {' '.join(specs(command))} ;;")
    return "\n".join([*out, "            esac ;;", "    esac", "}", "", '_brooklet "$@"']) + "\n"


def fish(program, commands):
    names = " ".join(command.name for command in commands)
    out = ["# fish completion of brooklet", "complete -c brooklet -f"]
    for command in commands:
        out.append(
            f"complete -c brooklet -n {quoted('not __fish_seen_subcommand_from ' + names)}"
            f" -a {command.name} -d {quoted(command.about)}"
        )
    for command in [program, *commands]:
        seen = f"__fish_seen_subcommand_from {command.name}" if command.name else f"not __fish_seen_subcommand_from {names}"
        for option in command.options:
            words = [f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names]
            takes = {None: "", "file": " -rF", "folder": " -xa '(__fish_complete_directories)'"}.get(
                kind(option.value), ""
            ) or (" -x" if option.value else "")
            out.append(f"complete -c brooklet -n {quoted(seen)} {' '.join(words)}{takes} -d {quoted(option.text)}")
    return "\n".join(out) + "\n"
