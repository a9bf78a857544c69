#include "store_fixture.hpp"

#include <atomic>
#include <thread>

using namespace troupe;
using namespace troupe::test;

TEST_CASE("full maps grow, and the batch that filled them is committed") {
  scratch_folder folder;
  store_options small{.map_bytes = 1 << 20};
  auto s = open_store(folder.path, small);
  for (int i = 0; i < 40; ++i) REQUIRE(commit_one(*s, numbered_batch(i, 100'000)));
  REQUIRE(std::filesystem::file_size(folder.file("cluster.mdb")) > 3u << 20);
  REQUIRE(std::filesystem::file_size(folder.file("local.mdb")) > 3u << 20);
  REQUIRE(require_in_step(*s) == 40);

  SECTION("a single batch may need several doublings") {
    batch big;
    for (int i = 0; i < 30; ++i) big.writes.push_back({table::config, record_name(i), std::string(2'000'000, 'b')});
    REQUIRE(commit_one(*s, big));
    REQUIRE(contents(*s, table::config).size() == 30);
  }
  SECTION("a small initial size opens a large file") {
    s.reset();
    s = open_store(folder.path, small);
    REQUIRE(require_in_step(*s) == 40);
    REQUIRE(commit_one(*s, numbered_batch(40, 100'000)));
  }
}

TEST_CASE("readers see whole commits, and changes before their events, while the writer commits and the map grows") {
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path, {.map_bytes = 1 << 20});
  REQUIRE(commit_one(*s, {{}, {{table::config, "a", "0"}, {table::config, "b", "0"}}, {}}));
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0}, reads{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t)
    readers.emplace_back([&] {
      while (!stop) {
        snapshot view = s->read();
        std::string a{view.get(table::config, "a").value_or("")};
        std::string b{view.get(table::config, "b").value_or("")};
        std::string told{view.get(table::statuses, "told").value_or("0")};
        if (a != b || std::stoi(told) > std::stoi(a)) ++wrong;
        ++reads;
        std::this_thread::yield();
      }
    });
  for (int i = 1; i <= 300; ++i) {
    std::string value = std::to_string(i);
    REQUIRE(commit_one(*s, {{},
                            {{table::config, "a", value},
                             {table::config, "b", value},
                             {table::config, "fill" + value, std::string(10'000, 'f')},
                             {table::statuses, "told", value}},
                            {make_event("a", "x")}}));
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  REQUIRE(wrong == 0);
  REQUIRE(reads > 0);
}

TEST_CASE("many snapshots of one thread live side by side") {
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path);
  std::vector<snapshot> views;
  for (int i = 0; i < 400; ++i) {
    REQUIRE(commit_one(*s, {{}, {{table::journal, "k", std::to_string(i)}}, {}}));
    if (i % 2) views.push_back(s->read());
  }
  for (size_t i = 0; i < views.size(); ++i) REQUIRE(views[i].get(table::journal, "k") == std::to_string(2 * i + 1));
  views.clear();
  REQUIRE(s->read().get(table::journal, "k") == "399");
}
