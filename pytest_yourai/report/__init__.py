"""Text for people, made from plain data; tested without pytest."""
