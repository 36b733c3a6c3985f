"""Detect stop strings in streamed text."""


class StopStrings:
    """Pass text through, up to the first stop string.

    `held` is text that may be the beginning of a stop string. The stop string that is complete first counts.

    Args:
        stop: stop strings, none of them empty.
    """

    def __init__(self, stop):
        self.stop = tuple(stop)
        self.held = ""
        self.is_found = False

    def push(self, text):
        """Add text. Returns the part that cannot belong to a stop string."""
        if self.is_found:
            return ""
        text = self.held + text
        found = [(start + len(stop), start) for stop in self.stop if (start := text.find(stop)) >= 0]
        if found:
            self.is_found, self.held = True, ""
            _, start = min(found)
            return text[:start]
        longest = max(map(len, self.stop), default=1) - 1  # of what may be the beginning of a stop string
        tails = [text[n:] for n in range(max(0, len(text) - longest), len(text) + 1)]
        self.held = next((tail for tail in tails if any(stop.startswith(tail) for stop in self.stop)), "")
        return text[: len(text) - len(self.held)]
