"""Doc-to-LoRA: a document's facts written into a LoRA adapter (after arXiv 2602.15902). Plain PyTorch, no Django."""
