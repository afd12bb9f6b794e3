"""How pages write dates and times, by language (FORMAT_MODULE_PATH); numbers are as Django has them."""
