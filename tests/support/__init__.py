"""What the tests share: model servers, writers of files, reference models."""
