"""What a method can keep of the past and replay: buffers and, later, generators."""
