"""What comes page by page: one asynchronous iterator for histories and lists. Nothing is asked
before the first `__anext__`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class PageIterator(ABC, Generic[T]):
    """Items of pages, in order. A subclass fetches: it calls `_took_page` with what came and the
    token of what follows.

    limit: how many items are given at most, over all pages.
    """

    def __init__(self, next_page_token: bytes | None, *, limit: int | None = None) -> None:
        self._next_page_token = next_page_token
        self._current_page: Sequence[T] | None = None
        self._current_page_index = 0
        self._limit = limit
        self._given = 0

    @property
    def current_page_index(self) -> int:
        """Index in the current page of what comes next."""
        return self._current_page_index

    @property
    def current_page(self) -> Sequence[T] | None:
        """The current page, if one was fetched."""
        return self._current_page

    @property
    def next_page_token(self) -> bytes | None:
        """Token of the next page, if there may be one."""
        return self._next_page_token

    @abstractmethod
    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Fetch the next page and begin at its first item, whatever was left of the present one."""

    def _took_page(self, page: Sequence[T], next_page_token: bytes | None) -> None:
        self._current_page = page
        self._current_page_index = 0
        self._next_page_token = next_page_token

    def _size(self, page_size: int) -> int:
        """A page's size, no larger than what the limit leaves."""
        return (
            page_size if self._limit is None else max(1, min(page_size, self._limit - self._given))
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while self._limit is None or self._given < self._limit:
            page = self._current_page
            if page is not None and self._current_page_index < len(page):
                self._current_page_index += 1
                self._given += 1
                return page[self._current_page_index - 1]
            if page is not None and self._next_page_token is None:
                break
            await self.fetch_next_page()
        raise StopAsyncIteration
