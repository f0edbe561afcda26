"""From messages to the prompt: templates, their sandbox, and images."""
