"""OpenAI's API: models, completions and chats, streamed or not."""
