#include "messages/unique_fd.hpp"
#include "runtime/loop.hpp"

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <fcntl.h>
#include <future>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <uv.h>
#include <vector>

using namespace std::chrono_literals;
using troupe::loop;
using troupe::unique_fd;

namespace {

/// Runs `work` on the loop's thread and waits for it.
template <class Work>
auto on(loop& l, Work work) {
  std::packaged_task<decltype(work())()> task{std::move(work)};
  auto result = task.get_future();
  l.post([&task] { task(); });
  return result.get();
}

std::pair<unique_fd, unique_fd> make_pipe() {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  return {unique_fd{ends[0]}, unique_fd{ends[1]}};
}

} // namespace

TEST_CASE("posted work runs in order on the loop's named thread") {
  loop l{"a name longer than sixteen"};
  std::vector<int> seen;
  for (int i = 0; i < 100; ++i) l.post([&seen, i] { seen.push_back(i); });
  CHECK(on(l, [&] { return l.on_thread(); }));
  CHECK_FALSE(l.on_thread());
  REQUIRE(seen.size() == 100);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
  auto name = on(l, [] {
    char text[16];
    pthread_getname_np(pthread_self(), text, sizeof text);
    return std::string{text};
  });
  CHECK(name == "a name longer t");
}

TEST_CASE("no post of many threads is lost") {
  int ran = 0;
  {
    loop l{"busy"};
    std::vector<std::thread> posters;
    for (int t = 0; t < 4; ++t)
      posters.emplace_back([&] {
        for (int i = 0; i < 5000; ++i) l.post([&ran] { ++ran; });
      });
    for (auto& p : posters) p.join();
  }
  CHECK(ran == 20000);
}

TEST_CASE("a dying loop runs what was posted and what that posts in turn") {
  std::vector<int> seen;
  {
    loop l{"dying"};
    l.post([&] {
      seen.push_back(1);
      l.post([&] {
        seen.push_back(2);
        l.post([&] { seen.push_back(3); });
      });
    });
  }
  CHECK(seen == std::vector<int>{1, 2, 3});
}

TEST_CASE("posted work may throw without harm to what comes after") {
  loop l{"throws"};
  l.post([] { throw std::runtime_error{"thrown by a test"}; });
  CHECK(on(l, [] { return 7; }) == 7);
}

TEST_CASE("a timer fires once, and its owner may destroy it in its own callback") {
  loop l{"timer"};
  std::promise<void> fired;
  loop::handle_ptr timer;
  l.post([&] {
    timer = l.after(1ms, [&] {
      timer.reset();
      fired.set_value(); // a second call would throw
    });
  });
  fired.get_future().wait();
  on(l, [&] { CHECK(timer == nullptr); });
}

TEST_CASE("a periodic timer fires until its owner lets go") {
  loop l{"every"};
  std::promise<void> enough;
  int count = 0;
  loop::handle_ptr timer;
  l.post([&] {
    timer = l.every(1ms, [&] {
      if (++count < 3) return;
      timer.reset();
      enough.set_value();
    });
  });
  enough.get_future().wait();
  CHECK(on(l, [&] { return count; }) == 3);
}

TEST_CASE("a timer of a destroyed owner never fires") {
  loop l{"cancel"};
  bool fired = false;
  std::promise<void> later;
  loop::handle_ptr guard;
  l.post([&] {
    auto doomed = l.after(0ms, [&] { fired = true; });
    guard = l.after(2ms, [&] { later.set_value(); });
  });
  later.get_future().wait();
  CHECK_FALSE(fired);
  on(l, [&] { guard.reset(); });
}

TEST_CASE("a watched pipe is reported each time it is readable") {
  loop l{"watch"};
  auto [reader, writer] = make_pipe();
  std::array<std::promise<char>, 2> got;
  size_t next = 0;
  auto watch = on(l, [&, fd = reader.get()] {
    return l.watch_readable(fd, [&, fd] {
      char c = 0;
      if (::read(fd, &c, 1) == 1) got.at(next++).set_value(c);
    });
  });
  REQUIRE(watch);
  REQUIRE(::write(writer.get(), "a", 1) == 1);
  CHECK(got[0].get_future().get() == 'a');
  REQUIRE(::write(writer.get(), "b", 1) == 1);
  CHECK(got[1].get_future().get() == 'b');
  on(l, [&] { watch.reset(); });
}

TEST_CASE("the end of a pipe's writer is readable") {
  loop l{"hangup"};
  auto [reader, writer] = make_pipe();
  std::promise<ssize_t> ended;
  loop::handle_ptr watch;
  l.post([&, fd = reader.get()] {
    watch = l.watch_readable(fd, [&, fd] {
      char c = 0;
      watch.reset();
      ended.set_value(::read(fd, &c, 1));
    });
  });
  writer.reset();
  CHECK(ended.get_future().get() == 0);
}

TEST_CASE("what cannot be polled has no watch") {
  loop l{"nothing"};
  CHECK(on(l, [&] { return l.watch_readable(-1, [] {}) == nullptr; }));
}

TEST_CASE("handles may outlive their loop, and their callbacks die with it") {
  auto held = std::make_shared<int>(1);
  std::vector<loop::handle_ptr> handles;
  auto [reader, writer] = make_pipe();
  {
    loop l{"short"};
    l.post([&, fd = reader.get()] {
      handles.push_back(l.every(1h, [held] {}));
      handles.push_back(l.watch_readable(fd, [held] {}));
    });
  }
  CHECK(handles.size() == 2);
  CHECK(held.use_count() == 1);
}

TEST_CASE("a handle of libuv's own left open does not keep the loop from ending") {
  uv_timer_t foreign;
  {
    loop l{"foreign"};
    on(l, [&] {
      uv_timer_init(l.raw(), &foreign);
      return uv_timer_start(
          &foreign, [](uv_timer_t*) {}, 3600'000, 0);
    });
  }
  CHECK(uv_is_closing(reinterpret_cast<uv_handle_t*>(&foreign)));
}
