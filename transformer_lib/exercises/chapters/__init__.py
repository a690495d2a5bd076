"""The exercises, a module a chapter, named by the chapter's key."""
