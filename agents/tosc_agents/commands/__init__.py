"""The subcommands of ``tosc``, a module each: a dataclass of arguments and what it does with them."""
