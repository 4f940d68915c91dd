"""Tests of autostate/scrapy/."""
