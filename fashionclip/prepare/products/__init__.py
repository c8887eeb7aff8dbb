"""Any catalogue, a table of products and their photos, to a prepared dataset."""
