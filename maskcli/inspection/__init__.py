"""What happens inside a model: a batch run through it becomes evidence."""
