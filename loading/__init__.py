"""Read a model from disk: files in, `encoder, hparams, params` out. Every file is untrusted."""
