"""Surface of Google's `generateContent` family, over any provider: requests become chat calls, answers Google's."""
