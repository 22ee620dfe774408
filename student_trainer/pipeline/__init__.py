"""From a prompt to a training example, asked ahead of the steps that use it."""
