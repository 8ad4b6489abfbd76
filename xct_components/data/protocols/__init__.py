"""Published benchmark protocols: their volumes, films and splits, as their authors made them."""
