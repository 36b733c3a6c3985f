"""Everything beyond the loop in gpt2.py: batches, prompt lookup, more sampling, scores, streamed text."""
