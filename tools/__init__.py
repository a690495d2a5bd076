"""What the book's makers run: storing outputs, publishing."""
