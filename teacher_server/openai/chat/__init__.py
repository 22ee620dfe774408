"""Chats: their bodies, how they are rendered, and turns that may call functions."""
