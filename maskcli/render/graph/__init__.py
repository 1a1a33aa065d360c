"""The model as a graph through which the mask flows: levels of calls, drawn as a picture, a page or Mermaid."""
