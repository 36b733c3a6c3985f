"""Where GPT-2 models are published, and downloads over HTTP that resume. Knows no file formats."""
