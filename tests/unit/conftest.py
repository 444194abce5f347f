"""Its place puts this directory on the import path, for what tests of several directories share."""
