#include "actors/image_publish.hpp"
#include "actors/operation_record.hpp"
#include "gateway/bus/bytes.hpp"
#include "gateway/bus/check.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"

#include <fcntl.h>
#include <sys/stat.h>

namespace troupe::on_bus {
namespace {

using verb = change_alias::verb;
using open_file = std::shared_ptr<const unique_fd>;

message<schema::ImageSpec> image_of(const call_ptr& c, const snapshot& records) {
  auto fingerprint = value_of(full_fingerprint(records, c->at.head->project, c->at.name()));
  auto image = *load<schema::ImageSpec>(records, table::images, in_project(c->at.head->project, fingerprint));
  bool seen = image.read([](auto i) { return i.getPublic(); }) || visible_as(c, "image")(fingerprint);
  if (!seen) refuse(fault::not_found, "Image not found");
  return image;
}

void fill_view(bus::ImageView::Builder out, const snapshot& records, const std::string& project,
               schema::ImageSpec::Reader image) {
  copy_shown(image, out.initSpec());
  std::vector<std::pair<std::string, std::string>> aliases; // name, description
  records.scan(table::aliases, project + "/", [&](std::string_view, std::string_view bytes) {
    message<schema::ImageAliasEntry>::from_bytes(bytes).read([&](schema::ImageAliasEntry::Reader alias) {
      if (alias.getTarget() == image.getFingerprint())
        aliases.emplace_back(text(alias.getName()), text(alias.getDescription()));
    });
    return true;
  });
  auto list = out.initAliases(static_cast<unsigned>(aliases.size()));
  for (unsigned i = 0; i < aliases.size(); ++i) {
    list[i].setName(aliases[i].first);
    list[i].setDescription(aliases[i].second);
  }
}

kj::Promise<void> change(const call_ptr& c, const std::optional<place>& thing, change_alias request) {
  request.head = c->at.head;
  return begin(c, thing, role::images, std::move(request));
}

bool lacks(capnp::List<capnp::Text>::Reader given, std::string_view field) {
  for (auto one : given)
    if (view(one) == field) return false;
  return true;
}

// Its name is not known before the operation has ended well.
bus::Image::Client image_made_by(const place& at, const std::string& operation) {
  return ask<operation_record>(at, role::operations, await_operation{operation})
      .then([at](operation_record&& ended) -> bus::Image::Client {
        check_success(ended);
        auto metadata = ended.read([](auto op) { return text(op.getMetadata()); });
        auto json = nlohmann::json::parse(metadata, nullptr, false);
        if (!json.is_object() || !json.contains("fingerprint"))
          refuse(fault::internal, "The operation does not tell the image's fingerprint");
        return handle_of<bus::Image>(at.below(json["fingerprint"].get<std::string>()));
      });
}

// The bytes of an image on their way in. Both files are unnamed: they are gone if nobody finishes.
class upload final : public bus::Upload::Server {
public:
  upload(place at, import_image request) : at_{std::move(at)}, engaged_{at_.of->doings}, request_{std::move(request)} {}

  bus::ByteStream::Client receive(open_file& into) {
    into = std::make_shared<const unique_fd>(open(at_.with().dir.spool.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!*into) refuse(fail_errno(errno, "Cannot make a temporary file").value());
    return receive_file(at_, into, [] {});
  }
  bus::ByteStream::Client metadata() { return receive(metadata_); }
  bus::ByteStream::Client rootfs() { return receive(rootfs_); }

  kj::Promise<void> finish(FinishContext context) override {
    if (!metadata_) refuse(fault::wrong_state, "The upload was finished already");
    struct stat info {};
    if (fstat(metadata_->get(), &info) != 0 || info.st_size == 0) refuse(fault::invalid, "The image is missing");
    bool split = fstat(rootfs_->get(), &info) == 0 && info.st_size > 0;
    request_.upload->metadata = duplicate(std::exchange(metadata_, nullptr));
    if (split) request_.upload->rootfs = duplicate(rootfs_);
    rootfs_ = nullptr;
    return ask<operation_record>(at_, role::images, request_).then([this, context](operation_record&& record) mutable {
      auto where = at_;
      where.names = {id_of(record)};
      context.getResults().setOperation(handle_of<bus::Operation>(where));
      context.getResults().setImage(image_made_by(at_, where.name()));
    });
  }

private:
  static unique_fd duplicate(const open_file& file) { return unique_fd{fcntl(file->get(), F_DUPFD_CLOEXEC, 0)}; }

  place at_;
  activity::engagement engaged_;
  import_image request_;
  open_file metadata_, rootfs_;
};

kj::Promise<void> send_whole(const place& at, unique_fd file, bus::ByteStream::Client to) {
  struct stat info {};
  if (fstat(file.get(), &info) != 0) refuse(fail_errno(errno, "Cannot look at the image").value());
  return send_file(at, std::make_shared<const unique_fd>(std::move(file)), static_cast<uint64_t>(info.st_size),
                   kj::mv(to));
}

} // namespace

kj::Promise<void> list_images(const call_ptr& c) {
  auto& project = c->at.head->project;
  return reply_page<bus::Images::ListResults, schema::ImageSpec>(
      c, c->params<bus::Page>(), table::images, project + "/",
      [project](bus::ImageView::Builder item, const snapshot& records, schema::ImageSpec::Reader image) {
        fill_view(item, records, project, image);
      },
      visible_as(c, "image"));
}

kj::Promise<void> import_image_(const call_ptr& c) {
  auto params = c->params<bus::ImageImport>();
  import_image request;
  request.head = c->at.head;
  request.upload = std::make_shared<image_upload>();
  request.upload->filename = text(params.getFilename());
  request.is_public = params.getPublic();
  request.properties = to_map(params.getProperties());
  request.expected_fingerprint = text(params.getFingerprint());
  for (auto& alias : to_vector(params.getAliases())) request.aliases.push_back({alias, ""});
  auto made = kj::heap<upload>(c->at, std::move(request));
  auto results = c->results<bus::Images::ImportResults>();
  results.setMetadata(made->metadata());
  results.setRootfs(made->rootfs());
  results.setUpload(kj::mv(made));
  return kj::READY_NOW;
}

kj::Promise<void> publish_instance(const call_ptr& c) {
  auto request = value_of(publication_of(c->params<schema::ImagesPost>(), c->at.head, c->at.project()));
  return ask<operation_record>(c->at, role::images, std::move(request)).then([c](operation_record&& record) {
    auto where = c->at;
    where.names = {id_of(record)};
    auto results = c->results<bus::Images::PublishResults>();
    results.setOperation(handle_of<bus::Operation>(where));
    results.setImage(image_made_by(c->at, where.name()));
  });
}

kj::Promise<void> view_image(const call_ptr& c) {
  auto records = c->with().db.read();
  auto image = image_of(c, records);
  auto results = c->results<bus::ImageView>();
  image.read([&](auto i) { fill_view(results, records, c->at.head->project, i); });
  results.setEtag(etag_of(image.bytes()));
  return kj::READY_NOW;
}

kj::Promise<void> update_image_(const call_ptr& c) {
  auto params = c->params<bus::Image::UpdateParams>();
  return begin(c, std::nullopt, role::images,
               update_image{c->at.name(),
                            {copy_of<schema::ImagePut>(params.getBody()), c->at.head},
                            text(params.getEtag()),
                            params.hasGiven(),
                            to_vector(params.getGiven())});
}

kj::Promise<void> delete_image_(const call_ptr& c) {
  return begin(c, std::nullopt, role::images, delete_image{c->at.head, c->at.name()});
}

kj::Promise<void> export_image(const call_ptr& c) {
  auto [fingerprint, split] = image_of(c, c->with().db.read()).read([](schema::ImageSpec::Reader i) {
    return std::pair{text(i.getFingerprint()), i.getSplit()};
  });
  using files = std::shared_ptr<std::vector<unique_fd>>;
  auto open_all = [&with = c->with(), fingerprint = fingerprint, split = split]() -> outcome<files> {
    auto found = with.image_files.open(fingerprint, split);
    if (!found) return tl::unexpected{found.error()};
    return std::make_shared<std::vector<unique_fd>>(std::move(*found));
  };
  return on_blocking_thread(c->at, open_all).then([c](files&& found) {
    auto params = c->params<bus::Image::ExportParams>();
    bool two = found->size() > 1;
    c->results<bus::Image::ExportResults>().setSplit(two);
    auto sent = send_whole(c->at, std::move((*found)[0]), params.getMetadata());
    if (!two) return sent;
    return sent.then([c, found] {
      return send_whole(c->at, std::move((*found)[1]), c->params<bus::Image::ExportParams>().getRootfs());
    });
  });
}

kj::Promise<void> list_aliases(const call_ptr& c) {
  return reply_page<bus::Images::AliasesResults, schema::ImageAliasEntry>(
      c, c->params<bus::Page>(), table::aliases, c->at.head->project + "/",
      [](schema::ImageAliasEntry::Builder item, const snapshot&, schema::ImageAliasEntry::Reader alias) {
        copy_shown(alias, item);
      },
      visible_as(c, "image_alias"));
}

kj::Promise<void> create_alias(const call_ptr& c) {
  auto post = c->params<schema::ImageAliasesPost>();
  auto name = text(post.getName());
  return change(c, c->at.below(name),
                {verb::create, nullptr, name, text(post.getTarget()), text(post.getDescription()), {}});
}

kj::Promise<void> view_alias(const call_ptr& c) {
  auto alias = load<schema::ImageAliasEntry>(c->with().db.read(), table::aliases, c->at.key());
  if (!alias || !visible_as(c, "image_alias")(c->at.name())) refuse(fault::not_found, "Alias not found");
  auto results = c->results<bus::Alias::ViewResults>();
  alias->read([&](auto a) { results.setAlias(a); });
  results.setEtag(etag_of(alias->bytes()));
  return kj::READY_NOW;
}

kj::Promise<void> update_alias(const call_ptr& c) {
  auto params = c->params<bus::Alias::UpdateParams>();
  auto body = params.getBody();
  bool patch = params.hasGiven();
  return change(c, std::nullopt,
                {verb::update,
                 nullptr,
                 c->at.name(),
                 text(body.getTarget()),
                 text(body.getDescription()),
                 {},
                 patch && lacks(params.getGiven(), "target"),
                 patch && lacks(params.getGiven(), "description"),
                 text(params.getEtag())});
}

kj::Promise<void> rename_alias(const call_ptr& c) {
  auto to = text(c->params<schema::ImageAliasRename>().getName());
  return change(c, c->at.beside(to), {verb::rename, nullptr, c->at.name(), {}, {}, to});
}

kj::Promise<void> delete_alias(const call_ptr& c) {
  return change(c, std::nullopt, {verb::remove, nullptr, c->at.name()});
}

} // namespace troupe::on_bus
