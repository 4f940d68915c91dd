"""What Apify tells a program, and what a program does to be an Actor."""
