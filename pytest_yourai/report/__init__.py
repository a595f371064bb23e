"""Text, Markdown and HTML for people, made from plain data."""
