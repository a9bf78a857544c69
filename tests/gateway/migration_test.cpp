#include "gateway/migration/websocket_dial.hpp"
#include "gateway/migration/wire.hpp"
#include "gateway/websocket_frames.hpp"

#include <catch2/catch.hpp>

using namespace troupe;

namespace {

constexpr auto pem = R"(-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUA8cDnOkIV8Hb1Yq1vXVvvzZ2N7QwCgYIKoZIzj0EAwIw
-----END CERTIFICATE-----)";

struct heard final : websocket_frames::user {
  std::string data, control;
  bool binary = false;
  void on_message(std::string said, bool is_binary) override {
    data += said;
    binary = is_binary;
  }
  void on_pong() override {}
  void on_control(std::string bytes) override { control += bytes; }
};

} // namespace

TEST_CASE("only operations of https servers are connected to") {
  for (auto url : {"http://a:1/1.0/operations/x", "https://a:1/1.0/operations/", "https://a:1/1.0/operations/x/y",
                   "https://a:1/1.0/operations/x?y", "https://a:1/1.0/instances/x", "https://a@b:1/1.0/operations/x",
                   "https://a:b/1.0/operations/x", "https://a:123456/1.0/operations/x", "https:///1.0/operations/x",
                   "https://a:1", "https://a\r\nb/1.0/operations/x", "https://a:1/1.0/operations/%2e%2e", ""}) {
    INFO(url);
    auto found = read_remote(url, pem);
    REQUIRE(!found);
    CHECK(found.error().code == fault::invalid);
    CHECK(found.error().message.find("https://HOST:PORT") != std::string::npos);
  }
  for (auto url : {"https://a:8443/1.0/operations/0-x", "https://10.0.0.1/1.0/operations/x",
                   "https://[::1]:8443/1.0/operations/x"}) {
    INFO(url);
    CHECK(read_remote(url, pem).error().message.find("certificate") != std::string::npos); // the one above is none
  }
}

TEST_CASE("an offer comes through as it was made") {
  transfer_header offer;
  offer.index_version = 1;
  offer.refresh = true;
  offer.features.links_and_acls = false;
  offer.snapshot_names = {"one"};
  offer.snapshots.push_back({"one",
                             {{"user.x", "y"}},
                             {{"root", {{"type", "disk"}}}},
                             {"default"},
                             true,
                             false,
                             2,
                             5'000'000'000,
                             6'000'000'000,
                             0});
  auto came = decode_header(encode(offer));
  REQUIRE(came);
  CHECK(came->by_rsync);
  CHECK(came->refresh);
  CHECK(came->index_version == 1);
  CHECK(came->snapshot_names == offer.snapshot_names);
  REQUIRE(came->snapshots.size() == 1);
  auto& one = came->snapshots.front();
  CHECK(one.config == offer.snapshots.front().config);
  CHECK(one.devices == offer.snapshots.front().devices);
  CHECK(one.profiles == offer.snapshots.front().profiles);
  CHECK((one.ephemeral && one.created_at == 5'000'000'000 && one.last_used_at == 6'000'000'000 && one.expires_at == 0));
  CHECK(common(*came).options() == std::vector<std::string>{"--xattrs", "--filter=-x security.selinux", "--delete"});
}

TEST_CASE("who names no features speaks as servers of old do") {
  std::string rsync_without_features{"\x08\x00", 2};
  auto came = decode_header(rsync_without_features);
  REQUIRE(came);
  auto options = common(*came).options();
  CHECK(std::find(options.begin(), options.end(), "--compress") != options.end());
}

TEST_CASE("garbage is no offer and no verdict") {
  CHECK(decode_header("\xff\xff").error().code == fault::invalid);
  CHECK(decode_header("").error().code == fault::invalid); // the transport is missing
  CHECK(!decode_verdict("\xff"));
}

TEST_CASE("the other side's complaint is told without what could harm a terminal") {
  auto verdict = decode_verdict(encode_verdict(error{fault::internal, "bad\n\x1b[2Jthing"}));
  REQUIRE(!verdict);
  CHECK(verdict.error().message == "The other server reports: bad??[2Jthing");
  CHECK(decode_verdict(encode_verdict(std::nullopt)));
}

TEST_CASE("what a client's frames say is what a server hears, and the other way round") {
  for (size_t size : {0, 5, 200, 70'000}) {
    std::string text(size, 'x'), sent = text;
    auto bytes = websocket_frames::masked_head(true, sent) + sent;
    heard server_side, client_side;
    websocket_frames server{server_side, 1 << 20}, client{client_side, 1 << 20, websocket_frames::side::client};
    CHECK(server.feed(bytes) == websocket_frames::state::open);
    CHECK(server_side.data == text);
    CHECK(client.feed(websocket_frames::data_head(false, size) + text) == websocket_frames::state::open);
    CHECK(client_side.data == text);
  }
  heard by;
  websocket_frames client{by, 1 << 20, websocket_frames::side::client};
  std::string masked = "x";
  CHECK(client.feed(websocket_frames::masked_head(true, masked) + masked) == websocket_frames::state::ended);
}
