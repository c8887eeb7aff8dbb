"""Uploading an export to a model hub."""

from __future__ import annotations

from pathlib import Path

from fashionclip.errors import InputError


def upload(folder: Path, name: str) -> str:
    """Uploads an export to a repository of the Hugging Face hub; a new repository is private.

    Args:
        folder: Folder of the export.
        name: Name of the repository, `owner/repository`, or without the owner for one's own.

    Returns:
        Address of the repository.

    Raises:
        InputError: The hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        repository = hub.create_repo(name, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository.repo_id, folder_path=folder, commit_message="Export of fashionclip")
    except Exception as error:  # from the network or the hub, or for a wrong name or a missing login
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"--hub {name}: could not be uploaded ({reason[:300]}). The export stands in {folder}. Log in with "
            f"`hf auth login`, then run: hf upload {name} {folder}"
        ) from error
    return str(repository)
