"""The command line: arguments, prompts, output, exit status."""
