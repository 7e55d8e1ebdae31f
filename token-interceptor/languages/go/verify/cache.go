package verify

import (
	"container/list"
	"hash/maphash"
	"sync"
)

const (
	cacheShards = 16
	// entryBytes is the overhead of an entry beside its text: links, maps and claims.
	entryBytes = 1024
)

// cache holds verified tokens, found by all of their bytes. The least recently used are evicted.
type cache struct {
	seed   maphash.Seed
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mutex    sync.Mutex
	bytesMax int
	bytes    int
	byText   map[string]*list.Element // of *seen
	recent   list.List                // the most recently used first
}

// newCache returns a cache of bytesMax bytes in all. Below zero it holds nothing.
func newCache(bytesMax int) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].bytesMax = bytesMax / cacheShards
		c.shards[i].byText = map[string]*list.Element{}
	}
	return c
}

func (c *cache) shard(text string) *cacheShard {
	// The end of the signature alone: only the issuer can choose it.
	end := text[max(0, len(text)-43):]
	return &c.shards[maphash.String(c.seed, end)%cacheShards]
}

func (c *cache) get(text string) *seen {
	s := c.shard(text)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	element := s.byText[text]
	if element == nil {
		return nil
	}
	s.recent.MoveToFront(element)
	return element.Value.(*seen)
}

func (c *cache) put(found *seen) {
	s := c.shard(found.text)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if cost(found.text) > s.bytesMax {
		return
	}
	s.drop(s.byText[found.text])
	s.byText[found.text] = s.recent.PushFront(found)
	s.bytes += cost(found.text)
	for s.bytes > s.bytesMax {
		s.drop(s.recent.Back())
	}
}

func (c *cache) remove(text string) {
	s := c.shard(text)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.drop(s.byText[text])
}

func (s *cacheShard) drop(element *list.Element) {
	if element == nil {
		return
	}
	text := s.recent.Remove(element).(*seen).text
	delete(s.byText, text)
	s.bytes -= cost(text)
}

// cost is the memory of an entry: the text, and decoded claims of about three times its length.
func cost(text string) int { return 4*len(text) + entryBytes }
