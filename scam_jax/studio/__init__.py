"""The studio: transfers and edits people in the browser, on this machine."""
