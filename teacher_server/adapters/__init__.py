"""LoRA adapters by name: where they lie, which are loaded, and the routes that change them."""
