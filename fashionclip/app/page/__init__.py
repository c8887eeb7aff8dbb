"""The search page and the JSON API of `fashionclip serve`."""
