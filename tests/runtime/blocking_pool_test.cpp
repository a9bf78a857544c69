#include "runtime/blocking_pool.hpp"

#include "runtime/keyed_work.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <future>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using namespace troupe;

TEST_CASE("as many jobs as threads run side by side, and no more") {
  std::promise<void> open, third;
  auto gate = open.get_future().share();
  std::atomic<int> inside = 0, most = 0;
  {
    blocking_pool pool{3};
    for (int i = 0; i < 9; ++i)
      REQUIRE(pool.submit([&] {
        int now = ++inside;
        for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
        }
        if (now == 3) third.set_value(); // once: later nobody reaches three again
        gate.wait();
        inside -= 100;
      }));
    third.get_future().wait();
    CHECK(pool.threads() == 3);
    CHECK(pool.queued() == 6);
    open.set_value();
  }
  CHECK(most == 3);
  CHECK(inside == 9 - 900);
}

TEST_CASE("whose calls hang holds up neither the pool nor other keys") {
  std::promise<void> open;
  auto gate = open.get_future().share();
  std::atomic<int> hanging = 0, ended = 0;
  {
    blocking_pool pool{1};
    for (size_t i = 0; i < keyed_each_max + 20; ++i)
      REQUIRE(pool.submit(keyed_work{"bad", [&] {
                                       ++hanging;
                                       gate.wait();
                                       ++ended;
                                     }}));
    for (auto key : {"good", "fine"}) {
      std::promise<void> ran;
      REQUIRE(pool.submit(keyed_work{key, [&] { ran.set_value(); }}));
      ran.get_future().wait();
    }
    std::promise<void> ran;
    REQUIRE(pool.submit([&] { ran.set_value(); }));
    ran.get_future().wait();
    CHECK(hanging <= static_cast<int>(keyed_each_max));
    open.set_value();
  }
  CHECK(ended == static_cast<int>(keyed_each_max) + 20); // each in its turn
}

TEST_CASE("a key has so much work, and no more") {
  std::promise<void> open;
  auto gate = open.get_future().share();
  blocking_pool pool{1};
  for (size_t i = 0; i < keyed_each_max + keyed_queue_max; ++i)
    REQUIRE(pool.submit(keyed_work{"bad", [gate] { gate.wait(); }}));
  CHECK_FALSE(pool.submit(keyed_work{"bad", [] {}}));
  CHECK(pool.submit(keyed_work{"good", [] {}}));
  open.set_value();
}

TEST_CASE("a full queue refuses work") {
  std::promise<void> open, begun;
  auto gate = open.get_future().share();
  std::atomic<int> ran = 0;
  {
    blocking_pool pool{1, 2};
    REQUIRE(pool.submit([&] {
      begun.set_value();
      gate.wait();
    }));
    begun.get_future().wait();
    CHECK(pool.submit([&] { ++ran; }));
    CHECK(pool.submit([&] { ++ran; }));
    CHECK_FALSE(pool.submit([&] { ran += 100; }));
    open.set_value();
  }
  CHECK(ran == 2);
}

TEST_CASE("a closing pool finishes what it took and refuses what its work submits") {
  int ran = 0;
  bool refused = false;
  {
    auto pool = std::make_unique<blocking_pool>(1, 1u << 30); // never full: a refusal means closing
    auto* raw = pool.get();
    std::promise<void> open;
    auto gate = open.get_future().share();
    REQUIRE(raw->submit([gate] { gate.wait(); }));
    for (int i = 0; i < 50; ++i) REQUIRE(raw->submit([&ran] { ++ran; }));
    REQUIRE(raw->submit([&refused, raw] {
      while (raw->submit([] {})) std::this_thread::yield(); // until the destructor has begun
      refused = true;
    }));
    open.set_value();
  }
  CHECK(ran == 50);
  CHECK(refused);
}

TEST_CASE("work that throws neither ends its thread nor the program") {
  blocking_pool pool{1};
  std::promise<std::thread::id> before, after;
  REQUIRE(pool.submit([&] {
    before.set_value(std::this_thread::get_id());
    throw std::runtime_error{"thrown by a test"};
  }));
  REQUIRE(pool.submit([&] { after.set_value(std::this_thread::get_id()); }));
  CHECK(before.get_future().get() == after.get_future().get());
}

TEST_CASE("idle threads leave, and later work finds new ones") {
  blocking_pool pool{4, 100, 0ms};
  for (int round = 0; round < 200; ++round) {
    std::promise<int> done;
    REQUIRE(pool.submit([&] { done.set_value(round); }));
    CHECK(done.get_future().get() == round);
    if (round % 20 == 0)
      while (pool.threads() != 0) std::this_thread::yield();
  }
}

TEST_CASE("no job of many submitters is lost") {
  std::atomic<int> ran = 0;
  {
    blocking_pool pool{4, 100000, 1ms};
    std::vector<std::thread> submitters;
    for (int t = 0; t < 4; ++t)
      submitters.emplace_back([&] {
        for (int i = 0; i < 5000; ++i)
          while (!pool.submit([&ran] { ++ran; })) std::this_thread::yield();
      });
    for (auto& s : submitters) s.join();
  }
  CHECK(ran == 20000);
}

TEST_CASE("what a job holds is released before the next one runs") {
  blocking_pool pool{1};
  auto held = std::make_shared<int>(1);
  std::promise<long> count;
  REQUIRE(pool.submit([held] {}));
  std::weak_ptr<int> watched = held;
  held.reset();
  REQUIRE(pool.submit([&, watched] { count.set_value(watched.use_count()); }));
  CHECK(count.get_future().get() == 0);
}
