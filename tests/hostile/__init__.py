"""Values, files and servers of somebody who means harm."""
