"""What is published and where: the catalog of files, and their resumable, verified download."""
