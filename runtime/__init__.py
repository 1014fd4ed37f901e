"""Device side: bundle + frames -> boxes, with numpy, OpenCV and one inference library."""
